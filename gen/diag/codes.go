package diag

// The codes of all problems. [Lookup] returns their explanations.
const (
	Misspelt     Code = "AF0101" // //af:rcp, //AF:rpc, //af: rpc
	NotDirective Code = "AF0102" // // af:rpc, /*af:rpc*/
	Detached     Code = "AF0103" // no declaration directly below
	Misplaced    Code = "AF0104" // on a declaration that can't have it
	UnknownKey   Code = "AF0105"
	BadValue     Code = "AF0106"
	RepeatedKey  Code = "AF0107"
	BadSyntax    Code = "AF0108" // of a quoted value, a missing or an extra value
	Conflict     Code = "AF0109" // directives that exclude each other
	UnknownRule  Code = "AF0111" // in //af:allow
	MissingKey   Code = "AF0115" // required by the directive
	BadCron      Code = "AF0116"
	BadZone      Code = "AF0117"
	BadAddress   Code = "AF0118"

	NotExported   Code = "AF0201" // the annotated type
	Generic       Code = "AF0202" // the annotated type
	NotStruct     Code = "AF0203" // the annotated type
	DuplicateName Code = "AF0204" // of two services or two workers
	NameTaken     Code = "AF0205" // a name that generated code declares
	NoMethods     Code = "AF0206" // of a service
	ReservedName  Code = "AF0207" // begins with _af
	DuplicateJob  Code = "AF0208" // two jobs with one id
	ClientPackage Code = "AF0211" // client= names a package that can't be written
	ClientType    Code = "AF0212" // a type that a client package can't or mustn't mention
	ClientCycle   Code = "AF0213" // a client package that would import itself

	NoContext       Code = "AF0301"
	NoError         Code = "AF0302"
	CannotTravel    Code = "AF0303" // a type of a parameter or result
	DuplicateMethod Code = "AF0304" // two methods with one name on the wire
	DuplicateMember Code = "AF0305" // two parameters or results with one name on the wire
	TypeError       Code = "AF0306" // in an annotated signature or a payload
	FieldLost       Code = "AF0307" // encoding/json skips it or gives it another name

	LosesTypes       Code = "AF0308" // a warning: any
	UnnamedParameter Code = "AF0309" // a warning

	NoRun           Code = "AF0401"
	BadRun          Code = "AF0402"
	BadSubtasksDone Code = "AF0403"
	BadBackoff      Code = "AF0404"

	FileInTheWay  Code = "AF0501"
	SyntaxError   Code = "AF0502"
	NotLoaded     Code = "AF0503"
	MixedPackages Code = "AF0504"
	NotEverywhere Code = "AF0505" // a method that is missing on some systems of its type
	OutsideModule Code = "AF0506" // through a symbolic link
	Differs       Code = "AF0507" // a declaration that differs on another system
	NotHere       Code = "AF0508" // output that depends on a file that can't be analyzed

	Internal Code = "AF0901" // a bug in afgen
)
