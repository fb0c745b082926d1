package receive

import (
	"strings"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
)

// Attempts returns the number of deliveries of a message of a queue, given that of the user, if any; 0 is no limit.
func Attempts(queue string, wanted *int) (int, error) {
	switch {
	case wanted == nil && !backend.IsDeadQueue(queue):
		return DefaultAttempts, nil
	case wanted == nil:
		return 0, nil
	case *wanted < 0:
		return 0, invalid("receiving from queue %q: MaxAttempts %d is negative", queue, *wanted)
	case backend.IsDeadQueue(queue):
		return 0, invalid("receiving from queue %q: MaxAttempts has no effect on a dead-letter queue", queue)
	}
	return *wanted, nil
}

const maxName = 240 // bytes without DeadSuffix; RabbitMQ allows 255, including our prefix

// CheckName returns an error if a queue of raw messages can't have this name. doing is what the caller does with it.
func CheckName(doing, queue string) error {
	if queue == "" {
		return invalid("%s a queue: the name is empty", doing)
	}
	if len(strings.TrimSuffix(queue, backend.DeadSuffix)) > maxName || !utf8.ValidString(queue) {
		return invalid("%s queue %+.80q: the name must be UTF-8 of at most %d bytes", doing, queue, maxName)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return backend.Errorf(backend.ErrInvalidArgument, format, args...).With(backend.OutcomeNotSent)
}
