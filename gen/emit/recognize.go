package emit

import (
	"bytes"
	"path/filepath"
	"regexp"
)

// IsGenerated reports whether afgen wrote a file with this name and content. It recognizes the output of every version
// by its content. The name, which may include a directory, only selects what to look for.
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

// IsOutput reports whether afgen may replace or remove a file. It may if [IsGenerated] recognizes the file. It also may
// if the file has the name of an output and is empty, ends within its first line (after a crash or on a full disk), or
// begins with a merge conflict marker.
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

// isTruncated reports whether content is only a part of what generated files start with.
func isTruncated(content []byte, start string) bool { return bytes.HasPrefix([]byte(start), content) }

// isConflict reports whether content begins with a merge conflict marker and has a line that only generated files have.
func isConflict(content []byte, ours *regexp.Regexp) bool {
	return bytes.HasPrefix(content, []byte("<<<<<<< ")) && ours.Match(content)
}
