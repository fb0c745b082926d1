//go:build race

package mongo_test

import "time"

const tick = 250 * time.Millisecond
