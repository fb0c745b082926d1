package directive

import (
	"slices"
	"strings"

	"github.com/afgen/afgen/internal/suggest"
)

// alsoCalled has synonyms of keys, by key, such as names that other systems use. They are too different to be found as
// misspellings.
var alsoCalled = map[string][]string{
	"name":        {"queue", "service"},
	"timeout":     {"deadline"},
	"concurrency": {"max", "parallel", "limit"},
	"max":         {"concurrency", "parallel", "limit", "workers", "max_workers"},
	"retries":     {"retry", "max_retry", "max_retries", "attempts", "max_attempts", "tries"},
	"backoff":     {"delay", "retry_delay", "interval"},
	"backoff_max": {"backoff_cap", "cap", "max_backoff", "max_delay"},
	"weight":      {"priority"},
	"max_crashes": {"crashes"},
	"isolation":   {"isolate", "process"},
	"client":      {"package", "pkg"},
	"id":          {"name", "job"},
	"cron":        {"schedule", "spec", "every"},
	"tz":          {"zone", "timezone", "time_zone", "location"},
	"allow":       {"ip", "ips", "allow_ips"},
	"missed":      {"misfire", "catchup"},
	"overlap":     {"concurrency"},
	"idempotent":  {"retryable"},
}

// near returns the key that an unknown one most likely means and reports whether there is one.
func (s Spec) near(key string) (string, bool) {
	key = strings.ToLower(key)
	for _, k := range s.Keys {
		if slices.Contains(alsoCalled[k.Name], key) {
			return k.Name, true
		}
	}
	return suggest.Nearest(key, s.keyNames())
}
