package io.github.keepstate;

import java.util.List;
import java.util.stream.Collectors;

/** The request is wrong. Nothing was changed, and repeating it will not help. */
public class InvalidArgumentException extends KeepstateException {
  private final List<FieldViolation> violations;

  InvalidArgumentException(Failure failure) {
    super(failure);
    violations = failure.violations();
  }

  /**
   * Every field that is wrong.
   *
   * @return the fields
   */
  public List<FieldViolation> violations() {
    return violations;
  }

  /** Names the fields that are wrong, unless the service's words do. */
  @Override
  public String getMessage() {
    String said = super.getMessage();
    String unsaid =
        violations.stream()
            .filter(violation -> !said.contains(violation.description()))
            .map(violation -> violation.field() + " " + violation.description())
            .collect(Collectors.joining("; "));
    return unsaid.isEmpty() ? said : said + ": " + unsaid;
  }
}
