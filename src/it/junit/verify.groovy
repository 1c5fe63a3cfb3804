String log = new File(basedir, 'build.log').text
assert log =~ /Tests run: [1-9]\d*, Failures: 0, Errors: 0, Skipped: 0\R/
['RaceTest', 'HoldersTest'].each {
    assert new File(basedir, "target/surefire-reports/TEST-org.example.${it}.xml").isFile()
}
