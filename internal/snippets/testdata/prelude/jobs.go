package prelude

type Day = shop.Day

type Options struct{ Dir string }
