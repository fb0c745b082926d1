package prelude

type Item struct{ Name string }
