package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Protection;
import java.util.Objects;

/**
 * What a mapping is asked to be used for.
 *
 * @param read whether its bytes are to be read
 * @param write whether its bytes are to be written
 * @param exec whether its bytes are to be executed
 */
public record ProtectionBits(boolean read, boolean write, boolean exec) {
  /**
   * The bits of a list.
   *
   * @param protection what for; none at all is allowed
   * @return the bits
   */
  public static ProtectionBits of(Protection... protection) {
    boolean r = false;
    boolean w = false;
    boolean x = false;
    for (Protection p : Objects.requireNonNull(protection, "protection")) {
      Objects.requireNonNull(p, "protection");
      r |= p == Protection.READ;
      w |= p == Protection.WRITE;
      x |= p == Protection.EXEC;
    }
    return new ProtectionBits(r, w, x);
  }

  /**
   * One area, to be used so.
   *
   * @param pages how long it is
   * @return the areas
   */
  public Areas areas(long pages) {
    return Areas.of(pages, Areas.bits(read, write));
  }

  @Override
  public String toString() {
    return (read ? "r" : "-") + (write ? "w" : "-") + (exec ? "x" : "-");
  }
}
