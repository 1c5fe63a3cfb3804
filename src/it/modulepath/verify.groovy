List<String> log = new File(basedir, 'build.log').readLines()
// On the JDK, and in the image.
assert log.count('EAGAIN') == 2
assert log.count('offset 0x1000: 0 mapped, 0 unsafe, 1 pinned, 0 accessible, 0 safe') == 2
assert log.count { it.contains('pinned at offset 0x1000 by main') } == 2
assert log.count { it.contains('org.example.Holders.main(Holders.java:18)') } == 2
assert log.count('OK') == 2
assert log.count('[]') == 2
assert log.count('module io.github.guestmemfd') == 2
assert !log.any { it.startsWith('SLF4J') }

Properties release = new Properties()
new File(basedir, 'target/image/release').withInputStream { release.load(it) }
Set<String> modules = release.getProperty('MODULES').replace('"', '').split(' ') as Set
assert modules == ['java.base', 'io.github.guestmemfd', 'org.example.holders', 'org.jctools.core', 'org.slf4j', 'org.slf4j.nop'] as Set
