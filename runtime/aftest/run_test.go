package aftest_test

import "testing"

// ExampleRun has no output, so it is compiled but not run.
func TestMailIsSentAgainAnHourLater(t *testing.T) { testMailIsSentLater(t) }
