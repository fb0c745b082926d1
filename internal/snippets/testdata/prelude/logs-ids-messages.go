package prelude

var n int
