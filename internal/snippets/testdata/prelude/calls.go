package prelude

var err error

type Quota struct{ Left int }
