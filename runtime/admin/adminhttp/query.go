package adminhttp

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	af "github.com/afgen/afgen/runtime"
)

// encodeQuery returns the arguments of a read as a query. Each field that is not zero is a parameter named as in JSON, a
// slice repeats it, and the fields of a struct in it follow its own. A payload match is "path=value", and an entry of a
// map is "name=value".
func encodeQuery(args any) url.Values {
	values := url.Values{}
	_ = eachField(reflect.ValueOf(args), func(name string, f reflect.Value) error {
		if f.Kind() == reflect.Slice {
			for i := range f.Len() {
				values.Add(name, formatValue(f.Index(i)))
			}
		} else if f.Kind() == reflect.Map {
			for _, key := range f.MapKeys() {
				values.Add(name, key.String()+"="+f.MapIndex(key).String())
			}
			slices.Sort(values[name])
		} else if !f.IsZero() {
			values.Set(name, formatValue(f))
		}
		return nil
	})
	return values
}

// decodeQuery decodes a query into args, a pointer. A parameter that is unknown, malformed or repeated is an error.
func decodeQuery(values url.Values, args any) error {
	known := map[string]bool{}
	err := eachField(reflect.ValueOf(args).Elem(), func(name string, f reflect.Value) error {
		known[name] = true
		texts := values[name]
		if f.Kind() == reflect.Map {
			return decodeMap(name, texts, f)
		}
		if f.Kind() == reflect.Slice {
			for _, text := range texts {
				element := reflect.New(f.Type().Elem()).Elem()
				if err := parseValue(element, text); err != nil {
					return invalid("parameter %s: %w", name, err)
				}
				f.Set(reflect.Append(f, element))
			}
			return nil
		}
		if len(texts) > 1 {
			return invalid("parameter %s is given %d times", name, len(texts))
		}
		if len(texts) == 1 {
			if err := parseValue(f, texts[0]); err != nil {
				return invalid("parameter %s: %w", name, err)
			}
		}
		return nil
	})
	for name := range values {
		if err == nil && !known[name] {
			err = invalid("unknown parameter %.80q", name)
		}
	}
	return err
}

// decodeMap decodes the entries of a map of texts.
func decodeMap(name string, texts []string, f reflect.Value) error {
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return invalid("parameter %s: %.80q is not name=value", name, text)
		}
		if f.IsNil() {
			f.Set(reflect.MakeMap(f.Type()))
		}
		if f.MapIndex(reflect.ValueOf(key)).IsValid() {
			return invalid("parameter %s has the name %.80q twice", name, key)
		}
		f.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(value))
	}
	return nil
}

func invalid(format string, args ...any) error {
	return af.Errorf(af.ErrInvalidArgument, format, args...).With(af.OutcomeNotSent)
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
	matchType    = reflect.TypeFor[af.PayloadMatch]()
)

// eachField calls fn with the fields of a struct, with those of structs in it, until fn returns an error.
func eachField(v reflect.Value, fn func(name string, f reflect.Value) error) error {
	for i := range v.NumField() {
		f, field := v.Field(i), v.Type().Field(i)
		if field.Name == "Skip" { // deprecated
			continue
		}
		var err error
		if f.Kind() == reflect.Struct && f.Type() != timeType {
			err = eachField(f, fn)
		} else {
			err = fn(paramName(field), f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// paramName returns the name of a field as in JSON, or its Go name in lower case with underscores.
func paramName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
		return name
	}
	var b strings.Builder
	runes := []rune(f.Name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func formatValue(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Type() {
	case timeType:
		return v.Interface().(time.Time).Format(time.RFC3339Nano)
	case durationType:
		return v.Interface().(time.Duration).String()
	case matchType:
		m := v.Interface().(af.PayloadMatch)
		return m.Path + "=" + m.Value
	}
	return fmt.Sprint(v.Interface())
}

func parseValue(v reflect.Value, text string) (err error) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Type() {
	case timeType:
		t, err := time.Parse(time.RFC3339Nano, text)
		v.Set(reflect.ValueOf(t))
		return err
	case durationType:
		d, err := time.ParseDuration(text)
		v.SetInt(int64(d))
		return err
	case matchType:
		path, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("%.80q is not path=value", text)
		}
		v.Set(reflect.ValueOf(af.PayloadMatch{Path: path, Value: value}))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		var n int
		n, err = strconv.Atoi(text)
		v.SetInt(int64(n))
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	default:
		err = fmt.Errorf("a parameter can't be a %s", v.Type())
	}
	return err
}
