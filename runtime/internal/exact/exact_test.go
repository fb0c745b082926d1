package exact

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

type holder struct {
	Any    any
	List   []any
	Map    map[string]any
	Deep   map[string]*holder
	Values map[string]struct{ X any }
	Array  [2]any
	hidden
	Number json.Number
	Time   time.Time
	Int    int64
}

type hidden struct{ Inside any }

func TestUnmarshalKeepsIntegersInAny(t *testing.T) {
	const text = `9007199254740993`
	big := json.Number("123456789012345678901234567890")
	in := `{"Any":` + text + `,"List":[1,1.5,-9007199254740993,18446744073709551615,` + string(big) + `,[` + text +
		`],null,"x",true,1e400],
		"Map":{"a":{"b":` + text + `}},"Deep":{"d":{"Any":` + text + `}},"Values":{"v":{"X":` + text +
		`}},"Array":[` + text + `,2],
		"Inside":` + text + `,"Number":` + text + `,"Int":` + text + `,"Time":"2026-01-02T03:04:05Z"}`
	const n = int64(9007199254740993)
	want := holder{
		Any:    n,
		List:   []any{1.0, 1.5, -n, uint64(math.MaxUint64), big, []any{n}, nil, "x", true, json.Number("1e400")},
		Map:    map[string]any{"a": map[string]any{"b": n}},
		Deep:   map[string]*holder{"d": {Any: n}},
		Values: map[string]struct{ X any }{"v": {n}},
		Array:  [2]any{n, 2.0},
		hidden: hidden{n},
		Number: text, Int: n, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	var got holder
	if err := Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestUnmarshalLeavesExactIntegersAsFloats(t *testing.T) {
	for text, want := range map[string]any{
		"0": 0.0, "-0": math.Copysign(0,
			-1), "9007199254740992": 9007199254740992.0, "-9007199254740992": -9007199254740992.0,
		"9007199254740993": int64(9007199254740993), "1e3": 1000.0, "12.0": 12.0,
	} {
		var got any
		if err := Unmarshal([]byte(" "+text+"\n"), &got); err != nil || got != want {
			t.Errorf("%s: %T %v, %v; want %T %v", text, got, got, err, want, want)
		}
	}
}

func TestUnmarshalRefusesInvalidJSON(t *testing.T) {
	for _, text := range []string{"", "1 2", "{", "[1,]", `{"a":1}}`} {
		var got, reference any
		err, want := Unmarshal([]byte(text), &got), json.Unmarshal([]byte(text), &reference)
		if err == nil || want == nil {
			t.Errorf("%q: %v; json.Unmarshal: %v", text, err, want)
		}
	}
}

func TestTypesWithoutAnyAreSkipped(t *testing.T) {
	type list struct {
		Next *list
		Any  map[string][]any
	}
	for want, types := range map[bool][]reflect.Type{
		true: {reflect.TypeFor[any](), reflect.TypeFor[list](), reflect.TypeFor[map[string]*list](),
			reflect.TypeFor[holder]()},
		false: {reflect.TypeFor[int](), reflect.TypeFor[time.Time](), reflect.TypeFor[map[string]json.RawMessage](),
			reflect.TypeFor[error]()},
	} {
		for _, typ := range types {
			if got := holdsAny(typ); got != want {
				t.Errorf("%s: %v", typ, got)
			}
		}
	}
}
