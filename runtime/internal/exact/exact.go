// Package exact encodes and decodes the values of users as JSON. [Marshal] does not escape HTML. [Unmarshal] loses no
// digits of integers, while encoding/json decodes numbers in an any as float64, which is exact for integers up to 2^53.
package exact

import (
	"bytes"
	"encoding"
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// most is the largest integer up to which float64 is exact.
const most = 1 << 53

// Unmarshal is like [json.Unmarshal], except for numbers in an any: integers beyond ±2^53 and numbers that no float64
// holds keep their digits, as int64, uint64 or json.Number. All others are float64, as from json.Unmarshal.
func Unmarshal(data []byte, v any) error {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || !holdsAny(t.Elem()) {
		return json.Unmarshal(data, v)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF { // more than one value: json.Unmarshal returns the error
		return json.Unmarshal(data, v)
	}
	settleNumbers(reflect.ValueOf(v).Elem())
	return nil
}

// anyHolders caches, for the types that Unmarshal has seen, whether they contain an any.
var anyHolders sync.Map

func holdsAny(t reflect.Type) bool {
	if known, ok := anyHolders.Load(t); ok {
		return known.(bool)
	}
	holds := findAny(t, map[reflect.Type]bool{})
	anyHolders.Store(t, holds)
	return holds
}

// findAny reports whether encoding/json may store a value into an any inside t. It skips types that decode
// themselves.
func findAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if t.Kind() == reflect.Interface {
		return t.NumMethod() == 0
	}
	if decodesItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return findAny(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if isDecoded(f) && findAny(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

// isDecoded reports whether encoding/json sets f or fields of it.
func isDecoded(f reflect.StructField) bool {
	return f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct
}

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// settleNumbers gives numbers in every any inside v, which must be settable, their final types.
func settleNumbers(v reflect.Value) {
	if !holdsAny(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		if settled, changed := settle(v.Interface()); changed {
			v.Set(reflect.ValueOf(settled))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			settleNumbers(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			settleNumbers(v.Index(i))
		}
	case reflect.Map:
		elem := reflect.New(v.Type().Elem()).Elem() // values in a map aren't settable
		for key, value := range v.Seq2() {
			elem.Set(value)
			settleNumbers(elem)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if isDecoded(v.Type().Field(i)) {
				settleNumbers(v.Field(i))
			}
		}
	}
}

// settle converts a value that encoding/json has stored into an any. changed reports whether it differs.
func settle(value any) (settled any, changed bool) {
	switch value := value.(type) {
	case json.Number:
		return number(value), true
	case []any:
		for i, e := range value {
			value[i], _ = settle(e)
		}
	case map[string]any:
		for key, e := range value {
			if settled, changed := settle(e); changed {
				value[key] = settled
			}
		}
	}
	return value, false
}

func number(n json.Number) any {
	text := string(n)
	if !strings.ContainsAny(text, ".eE") {
		i, err := strconv.ParseInt(text, 10, 64)
		if err == nil && (i < -most || i > most) {
			return i
		}
		if err != nil {
			if u, err := strconv.ParseUint(text, 10, 64); err == nil {
				return u
			}
			return n
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return n
	}
	return f
}
