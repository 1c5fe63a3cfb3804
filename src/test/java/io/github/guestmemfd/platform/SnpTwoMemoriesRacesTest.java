package io.github.guestmemfd.platform;

/**
 * SEV-SNP as released kernels have it: a page that turns shared stays assigned, and in the file.
 */
class SnpTwoMemoriesRacesTest extends SnpRacesTest {
  @Override
  boolean hasTwoMemories() {
    return true;
  }

  @Override
  boolean conversionGivesBack() {
    return false;
  }
}
