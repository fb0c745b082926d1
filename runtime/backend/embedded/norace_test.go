//go:build !race

package embedded_test

import "time"

const (
	race = false
	tick = 40 * time.Millisecond
)
