String log = new File(basedir, 'build.log').text
assert log =~ /Tests run: [1-9]\d*, Failures: 0, Errors: 0, Skipped: 0\R/
assert new File(basedir, 'target/surefire-reports/TEST-org.example.RaceTest.xml').isFile()
assert new File(basedir, 'target/surefire-reports/TEST-org.example.HoldersTest.xml').isFile()
