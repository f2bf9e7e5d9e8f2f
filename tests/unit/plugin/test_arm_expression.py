"""ARM expressions: what they come to, what is refused, and that nothing makes them hang or fall over."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_vmext.arm import evaluate, functions
from kubectl_vmext.arm.errors import ArmError
from kubectl_vmext.arm.evaluate import Scope

SCOPE = (
    Scope(
        given={"name": "web", "count": 3, "literal": "[concat('not evaluated')]"},
        parameters={"fallback": "[concat(parameters('name'), '-x')]", "self": "[parameters('self')]"},
        variables={
            "list": ["a", "b", "c"],
            "object": {"Key": {"inner": "[parameters('name')]"}},
            "a": "[variables('b')]",
            "b": "[variables('a')]",
        },
        location="westeurope",
    )
    .within("outer", 5)
    .within("inner", 2)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("[[escaped]", "[escaped]"),
        ("[not closed", "[not closed"),
        ("['it''s']", "it's"),
        ("[ concat( 'a' , 'b' ) ]", "ab"),
        ("[CONCAT('a', 1, true())]", "a1True"),
        ("[concat(variables('list'), createArray('d'))]", ["a", "b", "c", "d"]),
        ("[parameters('NAME')]", "web"),
        ("[parameters('literal')]", "[concat('not evaluated')]"),
        ("[parameters('fallback')]", "web-x"),
        ("[variables('list')[1]]", "b"),
        ("[variables('list')[sub(parameters('count'), 1)]]", "c"),
        ("[variables('object').key.inner]", "web"),
        ("[variables('object')['Key']]", {"inner": "web"}),
        ("[copyIndex()]", 2),
        ("[copyIndex(1)]", 3),
        ("[copyIndex('outer')]", 5),
        ("[copyIndex('OUTER', 10)]", 15),
        ("[toLower('ABC')]", "abc"),
        ("[toUpper('abc')]", "ABC"),
        ("[string(createObject('a', 1))]", '{"a":1}'),
        ("[int('42')]", 42),
        ("[add(2, -3)]", -1),
        ("[mul(6, 7)]", 42),
        ("[div(-7, 2)]", -3),
        ("[mod(-7, 2)]", -1),
        ("[format('{0}-{1:D3}-{2:00}-{{}}', 'a', 7, 5)]", "a-007-05-{}"),
        ("[if(equals(parameters('count'), 3), 'yes', reference('x'))]", "yes"),
        ("[if(false(), uniqueString('x'), 'no')]", "no"),
        ("[equals('a', 'A')]", False),
        ("[equals(1, true())]", False),
        ("[and(true(), not(false()))]", True),
        ("[or(false(), equals(1, 1), reference('x'))]", True),
        ("[coalesce(null(), 'b')]", "b"),
        ("[empty('')]", True),
        ("[empty(null())]", True),
        ("[length(variables('list'))]", 3),
        ("[length('abcd')]", 4),
        ("[replace('a-b', '-', '_')]", "a_b"),
        ("[substring('abcdef', 2, 3)]", "cde"),
        ("[padLeft('7', 3, '0')]", "007"),
        ("[split('a,b;c', createArray(',', ';'))]", ["a", "b", "c"]),
        ("[join(variables('list'), '/')]", "a/b/c"),
        ("[contains(variables('list'), 'b')]", True),
        ("[contains(variables('object'), 'key')]", True),
        ("[first('abc')]", "a"),
        ("[last(variables('list'))]", "c"),
        ("[take('abc', 2)]", "ab"),
        ("[skip(variables('list'), 2)]", ["c"]),
        ("[range(3, 3)]", [3, 4, 5]),
        ("[union(createObject('a', 1), createObject('b', 2))]", {"a": 1, "b": 2}),
        ("[base64ToString(base64('grün'))]", "grün"),
        ("[json('{\"a\": [1]}').a[0]]", 1),
        ("[uri('http://x/', '/y')]", "http://x/y"),
        ("[resourceGroup().location]", "westeurope"),
        (
            "[resourceId('Microsoft.Compute/virtualMachines/extensions', 'vm', 'ext')]",
            f"{evaluate.GROUP}/providers/Microsoft.Compute/virtualMachines/vm/extensions/ext",
        ),
        (
            "[resourceId('other-group', 'Microsoft.Compute/virtualMachines', 'vm')]",
            f"{evaluate.GROUP}/providers/Microsoft.Compute/virtualMachines/vm",
        ),
    ],
)
def test_expressions_come_to_what_azure_makes_of_them(text: str, expected: Any) -> None:
    assert evaluate.value(text, SCOPE) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "can't be read at its end"),
        ("[concat('a']", "can't be read"),
        ("[concat('a',)]", "can't be read at )"),
        ("[concat('a') 'b']", "can't be read at 'b'"),
        ("['open]", "can't be read at 'open"),
        ("[nonsense()]", "the function nonsense() is not known"),
        ("[contoso.unique('x')]", "a function of the template's own"),
        ("[reference('x').y]", "asks Azure for a running resource"),
        ("[listKeys('x', 'y')]", "asks Azure for keys"),
        ("[uniqueString('x')]", "only Azure makes the same way"),
        ("[utcNow()]", "another value each time"),
        ("[parameters('missing')]", "there is no parameter missing; give it by --parameters"),
        ("[variables('missing')]", "there is no variable missing"),
        ("[parameters('self')]", "parameter self is made of itself"),
        ("[variables('a')]", "is made of itself"),
        ("[variables('list')[3]]", "element 3 of an array of 3"),
        ("[variables('list')[-1]]", "element -1 of an array of 3"),
        ("[variables('object').missing]", "there is no field missing"),
        ("[parameters('name').x]", "a field of what is no object"),
        ("[copyIndex('other')]", "copyIndex('other') outside of that loop"),
        ("[add('1', 2)]", "a text where a number is needed"),
        ("[add(true(), 2)]", "a boolean where a number is needed"),
        ("[mul(999999999999999999, 999999999999999999)]", "a number beyond 64 bits"),
        ("[div(1, 0)]", "a division by zero"),
        ("[int('x')]", "a text where a number is needed"),
        ("[if('yes', 1, 2)]", "neither true nor false"),
        ("[format('{1}', 'a')]", "format has no value for {1}"),
        ("[format('{0:N2}', 1)]", "is not understood"),
        ("[substring('abc', 2, 5)]", "reaches out of its text"),
        ("[concat()]", "concat() with 0 arguments"),
        ("[concat(variables('object'))]", "a object where a text is needed"),
        ("[json('{')]", "json of what is not JSON"),
        ("[resourceId('vm', 'x')]", "resourceId() without a type"),
        ("[resourceId('Microsoft.Compute/virtualMachines', 'a', 'b')]", "with 2 names"),
        ("[padLeft('x', 99999999999)]", "needs a sensible width"),
        ("[range(0, 100000)]", "range of fewer than 0 or more than 10000"),
        ("[" + "concat(" * 60 + "'a'" + ")" * 60 + "]", "nested deeper than 48"),
        ("[variables('list')" + "[0]" * 60 + "]", "reaches deeper than 48 fields"),
        ("[concat('" + "x" * 30_000 + "')]", "ARM takes at most 24576"),
    ],
)
def test_what_can_not_be_told_is_refused_with_what_to_do(text: str, words: str) -> None:
    with pytest.raises(ArmError) as refused:
        evaluate.value(text, SCOPE)
    assert words in str(refused.value)


def test_what_grows_without_bound_is_stopped() -> None:
    doubling = {
        f"v{number}": f"[concat(variables('v{number - 1}'), variables('v{number - 1}'))]" for number in range(1, 60)
    }
    scope = Scope({}, {}, {"v0": "xxxxxxxxxx", **doubling})
    began = time.monotonic()
    with pytest.raises(ArmError, match=r"more than \d+ (characters|steps)"):
        evaluate.value("[variables('v59')]", scope)
    swelling = Scope({"x": "x" * 500_000}, {}, {})
    with pytest.raises(ArmError, match="longer than"):
        evaluate.value("[replace(parameters('x'), 'x', 'xxxx')]", swelling)
    # Generous: what is not stopped takes for ever.
    assert time.monotonic() - began < 60


_WORDS = st.sampled_from(
    [
        *functions.TABLE,
        *functions.AZURES,
        "parameters",
        "variables",
        "copyIndex",
        "if",
        "and",
        "resourceId",
        "resourceGroup",
    ]
)
_LEAVES = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.sampled_from(["'name'", "'list'", "'object'", "'a'", "''", "'{0:D99}'", "'Microsoft.Compute/virtualMachines'"]),
    st.text(max_size=20).map(lambda text: "'" + text.replace("'", "''") + "'"),
)
_NESTED = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(_WORDS, st.lists(inner, max_size=4)).map(lambda made: f"{made[0]}({', '.join(made[1])})"),
        st.tuples(inner, inner).map(lambda made: f"variables('list')[{made[0]}].x[{made[1]}]"),
    ),
    max_leaves=20,
)


@settings(max_examples=400)
@given(_NESTED)
def test_whatever_is_well_formed_ends_in_a_value_or_in_a_refusal(text: str) -> None:
    # Any other error is a finding.
    with contextlib.suppress(ArmError):
        evaluate.value(f"[{text}]", SCOPE)


@settings(max_examples=400)
@given(st.text(alphabet="[]()',.'ab0-_ {}\n\\é", max_size=60))
def test_whatever_is_rubbish_ends_in_a_value_or_in_a_refusal(text: str) -> None:
    # Any other error is a finding.
    with contextlib.suppress(ArmError):
        evaluate.value(f"[{text}]", SCOPE)
