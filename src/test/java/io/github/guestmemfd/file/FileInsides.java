package io.github.guestmemfd.file;

import io.github.guestmemfd.Insides;
import java.util.Map;

/** What tests look at inside a file. */
@SuppressWarnings("exports") // types of packages that are not exported, for tests alone
public final class FileInsides {
  private FileInsides() {}

  /** Conversions of a file that wait for the last holder. */
  public static int pending(FileOperations file) {
    return Insides.field(PendingConversions.class, file.pendings, "pending", Map.class).size();
  }
}
