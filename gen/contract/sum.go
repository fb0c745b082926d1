package contract

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// FileName is what the file is called that has a package's contract.
const FileName = "af.contract.json"

// MarshalWith is Marshal of c with sums of the files that are written with it (see Contract.Generated), and its own.
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

// Edited reports, by the content of a contract file of any version, whether a file has been changed since it was
// written with that contract; name is as in Contract.Generated. It reports no also where the contract doesn't know. Line
// ends of Windows are no change.
func Edited(contractFile []byte, name string, content []byte) bool {
	var c struct {
		Generated map[string]string `json:"generated"`
	}
	_ = json.Unmarshal(contractFile, &c) // an edited file says what it still can
	if name == FileName {
		content = facts(content)
	}
	want, known := c.Generated[name]
	return known && want != sum(content)
}

// facts is a contract file up to its sums.
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

// unixLines returns content with line ends of Unix. It is content itself if it has them.
func unixLines(content []byte) []byte {
	if !bytes.Contains(content, []byte("\r\n")) {
		return content
	}
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
}
