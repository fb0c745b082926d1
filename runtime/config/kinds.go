package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A kind is the type of a value.
type kind[T any] struct {
	name string // as returned by Keys
	// parse returns a problem, such as "must be true or false", if text is invalid.
	parse func(text string) (value T, problem string)
	// A secret kind's values are never printed. A mute kind's value isn't printed if invalid, because it may contain a
	// secret.
	secret, mute bool
}

var (
	text = kind[string]{name: "text", parse: func(s string) (string, string) { return s, "" }}

	filled = kind[string]{name: "text", parse: func(s string) (string, string) {
		if s == "" {
			return "", "must not be empty"
		}
		return s, ""
	}}

	secret = kind[Secret]{name: "secret", secret: true, parse: func(s string) (Secret, string) { return Secret(s), "" }}

	host = kind[string]{name: "host", mute: true, parse: parseHost}

	database = kind[string]{name: "text", parse: func(s string) (string, string) {
		if s == "" || len(s) > 63 || strings.ContainsAny(s, "/\\. \"$\x00") {
			return "", `must be 1 to 63 bytes without / \ . " $ and spaces`
		}
		return s, ""
	}}

	boolean = kind[bool]{name: "boolean", parse: func(s string) (bool, string) {
		switch strings.ToLower(s) {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return false, "must be true or false"
	}}

	level = kind[slog.Level]{name: "level", parse: parseLevel}

	ip = kind[string]{name: "IP address", parse: func(s string) (string, string) {
		if s == "" {
			return "", ""
		}
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return "", "must be an IPv4 or IPv6 address"
		}
		return addr.Unmap().String(), ""
	}}
)

// address is the kind of addresses to listen on.
var address = kind[string]{name: "host:port", parse: func(s string) (string, string) {
	name, number, err := net.SplitHostPort(s)
	if err == nil && name != "" {
		_, problem := parseHost(name)
		if problem != "" {
			err = errors.New(problem)
		}
	}
	if n, e := strconv.ParseUint(number, 10, 16); err != nil || e != nil || strconv.FormatUint(n, 10) != number {
		return "", "must be a host and a port, such as 127.0.0.1:8090"
	}
	return s, ""
}}

// hosts is the kind of lists of names of hosts.
var hosts = kind[[]string]{name: "text", parse: func(s string) (names []string, problem string) {
	if strings.TrimSpace(s) == "" {
		return nil, ""
	}
	for name := range strings.SplitSeq(s, ",") {
		name, problem := parseHost(strings.ToLower(strings.TrimSpace(name)))
		if problem != "" {
			return nil, "must be names or addresses of hosts, without ports, separated by commas"
		}
		names = append(names, name)
	}
	return names, ""
}}

// port is the kind of TCP ports.
var port = integer(1, 65535)

// integer is the kind of decimal numbers from low to high.
func integer(low, high int) kind[int] {
	return kind[int]{name: "integer", parse: func(s string) (int, string) {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil || int(n) < low || int(n) > high {
			return 0, fmt.Sprintf("must be an integer from %d to %d", low, high)
		}
		return int(n), ""
	}}
}

// duration is the kind of durations of at least low.
func duration(low time.Duration) kind[time.Duration] {
	return kind[time.Duration]{name: "duration", parse: func(s string) (time.Duration, string) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low {
			return 0, fmt.Sprintf("must be a duration with its unit, such as 90s or 24h, of at least %v", low)
		}
		return d, ""
	}}
}

// span is the kind of durations from low to high.
func span(low, high time.Duration) kind[time.Duration] {
	return kind[time.Duration]{name: "duration", parse: func(s string) (time.Duration, string) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return 0, fmt.Sprintf("must be a duration with its unit, such as 5s or 2m30s, more than 0 and at most %v", high)
		}
		return d, ""
	}}
}

// none adds the word none, which means 0, to a kind of durations.
func none(k kind[time.Duration]) kind[time.Duration] {
	parse := k.parse
	k.name += " or none"
	k.parse = func(s string) (time.Duration, string) {
		if s == "none" {
			return 0, ""
		}
		d, problem := parse(s)
		if problem != "" {
			problem += ", or none"
		}
		return d, problem
	}
	return k
}

// optional is the kind of pointers to values of another kind. A nil pointer means that the key isn't written.
func optional[T any](k kind[T]) kind[*T] {
	return kind[*T]{name: k.name, secret: k.secret, mute: k.mute, parse: func(s string) (*T, string) {
		v, problem := k.parse(s)
		if problem != "" {
			return nil, problem
		}
		return &v, ""
	}}
}

// oneOf is the kind of the given words.
func oneOf[T ~string](words ...T) kind[T] {
	want := "must be " + string(words[0])
	for _, w := range words[1:] {
		want += " or " + string(w)
	}
	return kind[T]{name: "text", parse: func(s string) (T, string) {
		if !slices.Contains(words, T(s)) {
			return "", want
		}
		return T(s), ""
	}}
}

// uri is the kind of one server's URIs.
func uri(d dialect) kind[Secret] {
	return kind[Secret]{name: "secret", secret: true, parse: func(s string) (Secret, string) {
		if s == "" {
			return "", ""
		}
		_, problem := d.parse(s)
		return Secret(s), problem
	}}
}

func parseLevel(s string) (slog.Level, string) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, ""
	case "info":
		return slog.LevelInfo, ""
	case "warn", "warning":
		return slog.LevelWarn, ""
	case "error":
		return slog.LevelError, ""
	}
	return 0, "must be one of debug, info, warn, warning, error"
}

// parseHost parses a host name or address and removes the brackets of an IPv6 address.
func parseHost(s string) (string, string) {
	inner, opened := strings.CutPrefix(s, "[")
	if opened {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return "", "must be a host name or an IP address alone; use port for the port"
		}
	}
	if opened || strings.Contains(inner, ":") {
		if addr, err := netip.ParseAddr(inner); err != nil || strings.ContainsFunc(addr.Zone(), notInHost) {
			return "", "must be a host name or an IP address alone; use port for the port and uri for a URI"
		}
		return inner, ""
	}
	if inner == "" || strings.ContainsFunc(inner, notInHost) {
		return "", "must be a host name or an IP address"
	}
	return inner, ""
}

// notInHost reports whether no host name can contain r. Such a character ends the host within a URI or, like a plus,
// is decoded differently by some drivers.
func notInHost(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`/\?#@[]<>"^{|}%,+`+"`", r)
}
