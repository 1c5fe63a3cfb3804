List<String> log = new File(basedir, 'build.log').readLines()
List<String> expected = new File(basedir, 'expected.txt').readLines()
assert Collections.indexOfSubList(log, expected) >= 0
assert !log.any { it.startsWith('SLF4J') }
