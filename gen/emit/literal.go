package emit

import (
	"go/token"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dave/jennifer/jen"
)

// exported returns the name of the exported field for a member.
func exported(member string) string {
	first, size := utf8.DecodeRuneInString(member)
	if name := string(unicode.ToUpper(first)) + member[size:]; token.IsExported(name) {
		return name
	}
	return "X" + member
}

// duration returns the code of exactly d, in the largest unit that divides it.
func (w *writer) duration(d time.Duration) jen.Code {
	if d == 0 {
		return jen.Lit(0)
	}
	units := []struct {
		size time.Duration
		name string
	}{
		{time.Hour, "Hour"},
		{time.Minute, "Minute"},
		{time.Second, "Second"},
		{time.Millisecond, "Millisecond"},
		{time.Microsecond, "Microsecond"},
		{time.Nanosecond, "Nanosecond"},
	}
	i := 0
	for d%units[i].size != 0 {
		i++
	}
	unit := w.qualified("time", units[i].name)
	if n := int64(d / units[i].size); n != 1 {
		return integer(n).Op("*").Add(unit)
	}
	return unit
}

// integer returns the code of an untyped constant. (jen.Lit writes an int64 as a conversion, and an int may have 32
// bits.)
func integer(n int64) *jen.Statement { return jen.Id(strconv.FormatInt(n, 10)) }

// field returns a field of a composite literal.
func (w *writer) field(name string, value jen.Code) jen.Code {
	key := w.element(spelling{name, ":"}, func() jen.Code { return jen.Id(name).Op(":") })
	return jen.Add(key.code, value)
}

// multiline returns the body of a composite literal with one field per line. (jen.Dict would sort the fields.)
func multiline(fields []jen.Code) jen.Code {
	return jen.Custom(jen.Options{Open: "{", Close: "}", Separator: ",", Multi: true}, fields...)
}
