// Package secret hides secrets in what is printed, logged or marshalled.
package secret

// Hide returns the text to show in place of a secret: "" if there is none.
func Hide(s string) string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}
