package emit

import (
	"bytes"
	"path/filepath"
	"regexp"
)

// IsGenerated reports whether afgen wrote content, found in a file of that name. The content decides, so that a file is
// recognized whatever version wrote it; the name, which may have a directory, only selects what to look for.
func IsGenerated(name string, content []byte) bool {
	switch {
	case filepath.Base(name) == ContractFile:
		return contractStart.Match(content)
	case filepath.Ext(name) == ".go":
		return hasHeader(content)
	}
	return false
}

var contractStart = regexp.MustCompile(`^\s*\{\s*"afgen"\s*:`)

// IsOutput reports whether afgen may replace or remove a file: one that [IsGenerated] recognizes, or one with the name of
// afgen's output that is empty, cut off before the end of its first line, as a crash or a full disk leaves it, or begins
// with the mark of a merge conflict.
func IsOutput(name string, content []byte) bool {
	if IsGenerated(name, content) {
		return true
	}
	content = bytes.Trim(content, " \t\r\n\x00")
	switch name = filepath.Base(name); {
	case name == ContractFile:
		return isTruncated(bytes.Join(bytes.Fields(content), nil), `{"afgen":`) || isConflict(content, contractLine)
	case outputName.MatchString(name):
		return isTruncated(content, Header) || isConflict(content, headerLine)
	}
	return false
}

var (
	outputName   = regexp.MustCompile(`^af_(gen|gen_[0-9a-f]{8}|.+_gen)\.go$`)
	headerLine   = regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(Header) + `\r?$`)
	contractLine = regexp.MustCompile(`(?m)^\s*"afgen"\s*:`)
)

// isTruncated reports whether content is less than what a file of ours starts with.
func isTruncated(content []byte, start string) bool { return bytes.HasPrefix([]byte(start), content) }

// isConflict reports whether content begins with the mark of a merge conflict and has a line that only ours have.
func isConflict(content []byte, ours *regexp.Regexp) bool {
	return bytes.HasPrefix(content, []byte("<<<<<<< ")) && ours.Match(content)
}
