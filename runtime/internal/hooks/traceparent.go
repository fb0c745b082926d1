package hooks

import "strings"

// The parts of a W3C traceparent: version, trace id, span id and flags, in lower-case hexadecimal digits.
const (
	traceFrom, traceTo = 3, 35
	spanFrom, spanTo   = 36, 52
	traceLength        = 55
)

// ValidTrace reports whether a string is a W3C traceparent. Ids of zeros and the version ff are invalid.
func ValidTrace(s string) bool {
	if len(s) != traceLength || s[traceFrom-1] != '-' || s[traceTo] != '-' || s[spanTo] != '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && i != traceFrom-1 && i != traceTo && i != spanTo {
			return false
		}
	}
	return s[:traceFrom-1] != "ff" && !zero(TraceID(s)) && !zero(SpanID(s))
}

func zero(id string) bool { return strings.Trim(id, "0") == "" }

// Sampled reports whether the span of a valid traceparent is sampled, so that it can be found later. It is false of "".
func Sampled(traceparent string) bool {
	return traceparent != "" && strings.IndexByte("13579bdf", traceparent[traceLength-1]) >= 0
}

// TraceID returns the trace id of a valid traceparent, and "" of "".
func TraceID(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return traceparent[traceFrom:traceTo]
}

// SpanID returns the span id of a valid traceparent, and "" of "".
func SpanID(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return traceparent[spanFrom:spanTo]
}
