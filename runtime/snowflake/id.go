package snowflake

import (
	"fmt"
	"strconv"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

const (
	nodeBits = 10
	seqBits  = 12

	nodes   = 1 << nodeBits
	maxSeq  = 1<<seqBits - 1
	maxTime = 1<<(63-nodeBits-seqBits) - 1 // milliseconds

	digits = 19 // of the largest int64
)

// Epoch is the instant that the time of an id counts from. It is early enough that today's ids have 19 digits without
// padding, and isn't after the clock of a testing/synctest bubble.
var Epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// An ID is a snowflake id. It is never negative; zero is not an id.
type ID int64

func pack(ms, node, seq int64) ID { return ID(ms<<(nodeBits+seqBits) | node<<seqBits | seq) }

// Parse parses the result of [ID.String], with or without leading zeros. Other text is ErrInvalidArgument.
func Parse(s string) (ID, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || len(s) > digits || s[0] == '+' {
		return 0, backend.Errorf(backend.ErrInvalidArgument,
			"snowflake id %.40q is invalid: want up to 19 decimal digits, below 2^63", s)
	}
	return ID(n), nil
}

// String returns the id as 19 decimal digits.
func (id ID) String() string {
	s := strconv.FormatInt(int64(id), 10)
	if len(s) < digits && id >= 0 {
		return "0000000000000000000"[:digits-len(s)] + s
	}
	return s
}

// Time returns when the id was generated, to the millisecond, by the clock of the generating process.
func (id ID) Time() time.Time {
	return time.UnixMilli(Epoch.UnixMilli() + int64(id)>>(nodeBits+seqBits)).UTC()
}

// Node returns the node number of the generating process, 0 to 1023.
func (id ID) Node() int { return int(id >> seqBits & (nodes - 1)) }

// Sequence returns the id's number within its process and millisecond, 0 to 4095.
func (id ID) Sequence() int { return int(id & maxSeq) }

// MarshalText implements encoding.TextMarshaler. In JSON an id is a string.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It accepts what [Parse] does.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = Parse(string(text))
	return err
}

// name returns the name of a node number's document.
func name(node int64) string { return fmt.Sprintf("%s%04d", prefix, node) }
