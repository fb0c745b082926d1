package aftest_test

import "testing"

// The example has no output to compare: a test runs it.
func TestMailIsSentAgainAnHourLater(t *testing.T) { testMailIsSentLater(t) }
