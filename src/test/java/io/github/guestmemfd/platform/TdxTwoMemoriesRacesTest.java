package io.github.guestmemfd.platform;

/** TDX as Linux 6.18 has it: two memories, and a reference on each page that is mapped. */
class TdxTwoMemoriesRacesTest extends TdxRacesTest {
  @Override
  boolean hasTwoMemories() {
    return true;
  }
}
