List<String> log = new File(basedir, 'build.log').readLines()
assert 'EAGAIN: busy folio at offset 0x0 held by 0 unsafe, 1 pinned, 0 safe' in log
assert '42' in log
assert log.any { it.startsWith('EFAULT: SIGBUS at offset 0x0 of the mapping') }
assert !log.any { it.startsWith('SLF4J') }
