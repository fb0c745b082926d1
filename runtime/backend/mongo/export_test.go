package mongo

// FirstFields returns the fields that the indexes of tasks begin with.
func FirstFields() []string {
	fields := []string{"_id"}
	for _, x := range indexes {
		fields = append(fields, x.keys[0].Key)
	}
	return fields
}
