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

// Epoch is the instant from which the time in an id counts: early enough that ids of our days have 19 digits by themselves,
// and that the clock of a testing/synctest bubble is not before it.
var Epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// An ID is one id, never negative. Its zero value is none.
type ID int64

func pack(ms, node, seq int64) ID { return ID(ms<<(nodeBits+seqBits) | node<<seqBits | seq) }

// Parse reads what [ID.String] has written, also without leading zeros.
func Parse(s string) (ID, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || len(s) > digits || s[0] == '+' {
		return 0, backend.Errorf(backend.ErrInvalidArgument, "%.40q is not a snowflake id: up to 19 decimal digits, below 2^63", s)
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

// Time returns when the id was made, to the millisecond, by the clock of the process that made it.
func (id ID) Time() time.Time {
	return time.UnixMilli(Epoch.UnixMilli() + int64(id)>>(nodeBits+seqBits)).UTC()
}

// Node returns the number of the process that made the id, 0 to 1023.
func (id ID) Node() int { return int(id >> seqBits & (nodes - 1)) }

// Sequence tells ids of one process and millisecond apart, 0 to 4095.
func (id ID) Sequence() int { return int(id & maxSeq) }

// MarshalText implements encoding.TextMarshaler: in JSON an id is a text.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = Parse(string(text))
	return err
}

// name is the document of a node number.
func name(node int64) string { return fmt.Sprintf("%s%04d", prefix, node) }
