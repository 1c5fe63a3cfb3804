// jcstress exits with 0 also if it has skipped a test.
String log = new File(basedir, 'build.log').text
assert log =~ /\(Results: (\d+) planned; \1 passed, 0 failed, 0 soft errs, 0 hard errs\)/
assert new File(basedir, 'target/jcstress/org.example.OwnProtocolTest.html').isFile()
