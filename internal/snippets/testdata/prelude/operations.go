package prelude

var yesterday time.Time
