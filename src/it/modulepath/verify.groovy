List<String> log = new File(basedir, 'build.log').readLines()
assert 'EAGAIN' in log
assert 'offset 0x1000: 0 mapped, 0 unsafe, 1 pinned, 0 accessible, 0 safe' in log
assert log.any { it.contains('pinned at offset 0x1000 by main') }
assert log.any { it.contains('org.example.Holders.main(Holders.java:18)') }
assert 'OK' in log
assert '[]' in log
assert 'module io.github.guestmemfd' in log
assert !log.any { it.startsWith('SLF4J') }
