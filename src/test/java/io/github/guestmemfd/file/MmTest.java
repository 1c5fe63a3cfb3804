package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The mappings of a process: what comes and goes, what is inherited, and its end. */
class MmTest {
  private static final int READ_WRITE = Areas.bits(true, true);

  private final Host host = new Host(4, new Host.Options());
  private final Mm<Mapping> mm = new Mm<>();

  private FileOperations file(FileTrait... traits) {
    return new FileOperations(
        host,
        Pages.bytes(4),
        CreateFlag.MMAP.bit() | CreateFlag.INIT_SHARED.bit(),
        Set.of(traits),
        null,
        ConversionProtocol.bothCounters(),
        RetryPolicy.failAtOnce());
  }

  /** Maps a file, which ends with its last mapping. */
  private Mapping map(FileOperations file) {
    Areas areas = Areas.of(2, READ_WRITE);
    Mapping mapping = file.remap.make(mm, new OpenFile(file.inode), 1, areas);
    mm.add(mapping, mapping);
    return mapping;
  }

  private static void close(FileOperations file, Mapping mapping) {
    file.remap.close(mapping);
  }

  @AfterEach
  void noFileIsOpen() {
    host.close();
  }

  @Test
  void whatIsMappedInItsOrder() {
    FileOperations file = file();
    Mapping first = map(file);
    FileOperations other = file();
    Mapping second = map(other);
    assertEquals(List.of(first, second), mm.mappings());
    close(file, first);
    assertEquals(List.of(second), mm.mappings());
    close(other, second);
    assertEquals(List.of(), mm.mappings());
  }

  @Test
  void endsOnce() {
    FileOperations file = file();
    Mapping mapping = map(file);
    assertTrue(mm.tryEnd());
    assertFalse(mm.tryEnd());
    assertThrows(IllegalStateException.class, () -> mm.add(mapping, mapping));
    assertThrows(IllegalStateException.class, () -> mm.fork((user, areas) -> {}));
    mm.closeAll(each -> close(file, each));
    assertEquals(List.of(), mm.mappings());
  }

  /** All are closed, whatever is thrown. */
  @Test
  void aMappingThatCannotBeClosed() {
    List<Mapping> asked = new ArrayList<>();
    FileOperations file = file();
    FileOperations other = file();
    Mapping first = map(file);
    Mapping second = map(other);
    RuntimeException thrown = new IllegalArgumentException("planned");
    assertSame(
        thrown,
        assertThrows(
            RuntimeException.class,
            () ->
                mm.closeAll(
                    each -> {
                      asked.add(each);
                      if (each == first) {
                        throw thrown;
                      }
                    })));
    assertEquals(List.of(first, second), asked);
    close(file, first);
    close(other, second);
  }

  /** A child has what is inherited of it, and keeps its file open; of the others it has nothing. */
  @Test
  void whatIsInherited() {
    FileOperations file = file();
    FileOperations other = file(FileTrait.NOT_INHERITED);
    Mapping first = map(file);
    Mapping second = map(other);
    List<Areas> child = new ArrayList<>();
    mm.fork((user, areas) -> child.add(areas));
    assertFalse(child.get(0).isEmpty());
    assertTrue(child.get(1).isEmpty());
    assertEquals(2, child.get(1).pages());
    close(file, first);
    assertFalse(file.inode.isGone(), "the child has it open");
    close(other, second);
    assertTrue(other.inode.isGone());
    first.opened.close();
    assertTrue(file.inode.isGone());
  }

  /** Where nothing is mapped no file is held. */
  @Test
  void aMappingOfNothing() {
    FileOperations file = file();
    OpenFile opened = new OpenFile(file.inode);
    Mapping nothing = file.remap.make(mm, opened, 0, Areas.of(2, Areas.UNMAPPED));
    close(file, nothing);
    assertFalse(file.inode.isGone());
    opened.close();
    assertTrue(file.inode.isGone());
  }

  /** A file that is given up by a fork that fails is not open for the child. */
  @Test
  void aForkThatFails() {
    FileOperations file = file();
    FileOperations other = file();
    Mapping first = map(file);
    Mapping second = map(other);
    RuntimeException thrown = new IllegalArgumentException("planned");
    assertSame(
        thrown,
        assertThrows(
            RuntimeException.class,
            () ->
                mm.fork(
                    (user, areas) -> {
                      first.opened.close(); // it takes over the open file
                      throw thrown;
                    })));
    close(file, first);
    assertTrue(file.inode.isGone());
    close(other, second);
    assertTrue(other.inode.isGone());
  }
}
