#!/usr/bin/env bash
# client-java.sh setup|generate|check|test|conformance: what is done with the Java client, client/java. Each does setup first.
#   setup        finds a JDK and Maven, or installs Debian's, and fetches what the build needs, each held to a version
#   generate     makes the stubs from proto/ again; they are not committed
#   check        format, lint, javadoc, the example, and the jars that a registry wants
#   test         the unit tests
#   conformance  builds the program of the conformance suite, and prints the command that runs it, one argument a line
#   format       formats the code
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

client=client/java
formatter=com.google.googlejavaformat:google-java-format:1.28.0:jar:all-deps  # the last line that runs on Java 17
formatter_jar=$cache/google-java-format-1.28.0.jar

# -C: what was fetched must have the checksum that the registry tells.
maven() { (cd "$client" && timeout --foreground 1200 mvn -B -ntp -C "$@"); }
offline() { maven -o "$@"; }

new_enough() { # a JDK of 17 or more, and Maven of 3.8 or more
  local java maven
  command -v javac > /dev/null && command -v mvn > /dev/null || return 1
  java=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
  maven=$(mvn -B -v | sed -n 's/.*Apache Maven \([0-9.]*\).*/\1/p')
  [ "${java:-0}" -ge 17 ] && [ "$(printf '%s\n' 3.8 "$maven" | sort -V | head -n 1)" = 3.8 ]
}

setup() {
  local stamp
  exec 9< scripts/client-java.sh  # one at a time, to the end, since each builds in the same folders
  flock -w 1800 9 || die "another run of scripts/client-java.sh has been busy for half an hour"
  new_enough || { apt_install openjdk-17-jdk-headless maven; hash -r; }
  new_enough || die "Java 17 and Maven 3.8 or newer are needed, also to run: see JAVA_HOME and PATH"
  # The local repository and the files of Maven's own: where either has gone all is fetched again.
  stamp=$HOME/.m2/repository/io/github/keepstate/.fetched-$(fingerprint "$client/pom.xml" "$client/example/pom.xml" scripts/client-java.sh --)
  [ -e "$stamp" ] && [ -e "$formatter_jar" ] && return
  step "packages of the Java client" fetch
  mkdir -p "${stamp%/*}" && touch "$stamp"
}

# There is no way to ask Maven for all that a build will need but to build.
fetch() {
  maven -Prelease verify
  maven install -DskipTests
  maven dependency:build-classpath -Dmdep.outputFile=target/classpath
  maven -f example/pom.xml compile exec:help
  maven dependency:copy -Dartifact="$formatter" -DoutputDirectory="$PWD/$client/target/formatter"
  cp "$client"/target/formatter/*.jar "$formatter_jar"
}

format() { # ARG...: google-java-format on all sources
  local part opens=()
  for part in api code file parser tree util; do
    opens+=(--add-exports "jdk.compiler/com.sun.tools.javac.$part=ALL-UNNAMED")
  done
  find "$client" -name target -prune -o -name '*.java' -print0 | xargs -0 java "${opens[@]}" -jar "$formatter_jar" "$@"
}

formatted() {
  local wrong
  wrong=$(format --dry-run)
  [ -z "$wrong" ] || die "not formatted: run scripts/client-java.sh format:" $wrong
}

example() {
  offline install -DskipTests
  offline -f example/pom.xml compile
}

conformance() {
  offline test-compile
  offline dependency:build-classpath -Dmdep.outputFile=target/classpath
}

task=${1:-}
case $task in setup | generate | check | test | conformance | format) ;; *)
  die "usage: scripts/client-java.sh setup|generate|check|test|conformance|format" ;;
esac
setup
case $task in
  generate) step "stubs of the Java client" offline protobuf:generate ;;
  check)
    formatted
    step "compiler, lint and jars of the Java client" offline -Prelease verify -DskipTests
    step "example of the Java client" example
    ;;
  test) offline -q test ;;
  conformance)
    step "conformance program of the Java client" conformance
    printf '%s\n' "$(command -v java)" -XX:+UseSerialGC -cp \
      "$PWD/$client/target/test-classes:$PWD/$client/target/classes:$(cat "$client/target/classpath")" \
      io.github.keepstate.conformance.Program
    ;;
  format) format --replace ;;
esac
