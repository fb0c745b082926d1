//go:build race

package embedded_test

import "time"

const (
	race = true
	tick = 80 * time.Millisecond
)
