package io.github.keepstate;

import io.github.keepstate.v1.PromiseStatus;
import io.github.keepstate.v1.Store;
import java.util.List;

/**
 * One store: a Dapr state component.
 *
 * @param name the component's name
 * @param componentType e.g. "state.redis"
 * @param componentVersion e.g. "v1"
 * @param isDefault whether records that name no store are kept here
 * @param promises the promises of the contract, by number
 * @param durability what the store may lose of acknowledged writes when it fails over
 */
public record StoreInfo(
    String name,
    String componentType,
    String componentVersion,
    boolean isDefault,
    List<Promise> promises,
    String durability) {

  /**
   * One promise of the contract on one store.
   *
   * @param number its number in the contract
   * @param title its short name, e.g. "transaction"
   * @param keeping how it is kept
   * @param reason why, where it is refused or kept only in part; else empty
   */
  public record Promise(int number, String title, Keeping keeping, String reason) {
    private static Promise of(PromiseStatus message) {
      Keeping keeping =
          switch (message.getKeeping()) {
            case KEEPING_NATIVE -> Keeping.NATIVE;
            case KEEPING_STAGED -> Keeping.STAGED;
            case KEEPING_REFUSED -> Keeping.REFUSED;
            case KEEPING_UNSPECIFIED, UNRECOGNIZED -> Keeping.UNKNOWN;
          };
      return new Promise(message.getNumber(), message.getTitle(), keeping, message.getReason());
    }
  }

  static StoreInfo of(Store message) {
    return new StoreInfo(
        message.getName(),
        message.getComponentType(),
        message.getComponentVersion(),
        message.getIsDefault(),
        message.getPromisesList().stream().map(Promise::of).toList(),
        message.getDurability());
  }
}
