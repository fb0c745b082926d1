package contract

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// FileName is the name of contract files.
const FileName = "af.contract.json"

// MarshalWith is like [Marshal], but sets Generated to the checksums of files, which has the contents by name, and of
// the contract.
func MarshalWith(c Contract, files map[string][]byte) ([]byte, error) {
	c.Generated = map[string]string{FileName: ""}
	for name, content := range files {
		c.Generated[name] = sum(content)
	}
	content, err := Marshal(c)
	if err != nil {
		return nil, err
	}
	before := facts(content)
	const own = `"` + FileName + `": "`
	sums := bytes.Replace(content[len(before):], []byte(own), []byte(own+sum(before)), 1)
	return slices.Concat(before, sums), nil
}

// Edited reports whether a file has changed since it was generated, according to the checksums in the contract file.
// name is a key of [Contract.Generated]. The contract file may have any version. If it doesn't have the checksum,
// Edited returns false. CRLF line ends are no change.
func Edited(contractFile []byte, name string, content []byte) bool {
	var c struct {
		Generated map[string]string `json:"generated"`
	}
	_ = json.Unmarshal(contractFile, &c) // the file may have been edited
	if name == FileName {
		content = facts(content)
	}
	want, known := c.Generated[name]
	return known && want != sum(content)
}

// facts returns the part of a contract file before its checksums.
func facts(content []byte) []byte {
	content = unixLines(content)
	if i := bytes.LastIndex(content, []byte("\n  \"generated\": {\n")); i >= 0 {
		return content[:i]
	}
	return content
}

func sum(content []byte) string {
	s := sha256.Sum256(unixLines(content))
	return hex.EncodeToString(s[:6])
}

// unixLines returns content with LF line ends.
func unixLines(content []byte) []byte {
	if !bytes.Contains(content, []byte("\r\n")) {
		return content
	}
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
}
