package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// A Secret is a string that must not be shown by accident. It prints, marshals and logs as "[redacted]", or as "" if
// empty. Only [Secret.Reveal] and a conversion to string return the text.
//
// Package fmt bypasses methods in two cases: a misplaced %p or %w, which go vet reports, and unexported fields. A
// [Config] or a pointer to one of its sections is safe in an unexported field printed with %v, since fmt doesn't
// follow pointers there. A Secret or a section by value is not.
type Secret string

// Reveal returns the text, for a driver.
func (s Secret) Reveal() string { return string(s) }

// String returns "[redacted]", or "" if s is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns [Secret.String], for %#v.
func (s Secret) GoString() string { return s.String() }

// Format writes [Secret.String] for every verb and flag, including %x and %d.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// Config and its sections format themselves, always like %+v. For a verb that doesn't apply to a pointer, such as %s,
// fmt prints the value behind it without calling methods, including Secret's.

// Format writes all fields, including the sections', for any verb. Secrets are redacted.
func (c Config) Format(f fmt.State, _ rune) {
	type plain Config // without this method
	fmt.Fprintf(f, "%+v", plain(c))
}

// Format writes all fields for any verb. Secrets are redacted.
func (m MongoDB) Format(f fmt.State, _ rune) {
	type plain MongoDB
	fmt.Fprintf(f, "%+v", plain(m))
}

// Format writes all fields for any verb. Secrets are redacted.
func (r Redis) Format(f fmt.State, _ rune) {
	type plain Redis
	fmt.Fprintf(f, "%+v", plain(r))
}

// Format writes all fields for any verb. Secrets are redacted.
func (r RabbitMQ) Format(f fmt.State, _ rune) {
	type plain RabbitMQ
	fmt.Fprintf(f, "%+v", plain(r))
}

// Format writes all fields for any verb.
func (d Dashboard) Format(f fmt.State, _ rune) {
	type plain Dashboard
	fmt.Fprintf(f, "%+v", plain(d))
}

// MarshalText returns [Secret.String].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns [Secret.String], quoted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalYAML returns [Secret.String].
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns [Secret.String].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
