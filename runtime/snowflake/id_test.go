package snowflake_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/snowflake"
)

// The layout is stable because ids are stored.
func TestIDHasTimeNodeAndSequence(t *testing.T) {
	at := time.Date(2026, 11, 24, 10, 30, 0, 5e6, time.UTC)
	ms := at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Milliseconds()
	id := snowflake.ID(ms<<22 | 1023<<12 | 4095)
	if !id.Time().Equal(at) || id.Node() != 1023 || id.Sequence() != 4095 {
		t.Errorf("got %v, %d, %d", id.Time(), id.Node(), id.Sequence())
	}
	if id := snowflake.ID(ms << 22); id.Node() != 0 || id.Sequence() != 0 {
		t.Errorf("got %d, %d", id.Node(), id.Sequence())
	}
}

func TestIDStringsSortAsNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.Custom(func(t *rapid.T) snowflake.ID { return snowflake.ID(rapid.Int64Min(0).Draw(t, "id")) })
		a, b := ids.Draw(t, "a"), ids.Draw(t, "b")
		if len(a.String()) != 19 || (a < b) != (a.String() < b.String()) {
			t.Fatalf("%s and %s", a, b)
		}
		if back, err := snowflake.Parse(a.String()); err != nil || back != a {
			t.Fatalf("%s comes back as %s, %v", a, back, err)
		}
		text, err := json.Marshal(a)
		var back snowflake.ID
		if err != nil || text[0] != '"' || json.Unmarshal(text, &back) != nil || back != a {
			t.Fatalf("%s in JSON is %s, %v", a, text, err)
		}
	})
}

func TestParseRejectsInvalidIDs(t *testing.T) {
	for _, s := range []string{"", "-1", "+1", "1_000", "0x10", "9223372036854775808", "00000000000000000001",
		"1 ", "nil"} {
		if id, err := snowflake.Parse(s); !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("%q: %v, %v", s, id, err)
		}
	}
}
