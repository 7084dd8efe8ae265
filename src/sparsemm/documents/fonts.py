"""The faces that richer pages are set in: a list, where each one's file lies, and faces at a size in px.

The files come with matplotlib and with small packages of fonts; no code of those packages is run. Faces of the group
"held-out" are never trained on, and no other weight or slant of their families is.
"""

from __future__ import annotations

import functools
import importlib.util
import string
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from sparsemm.errors import InputError

GROUPS = ("train", "held-out")
# What every face below draws as expected. TeX's faces lack quotation marks, brackets and more, or have others there.
CHARACTERS = string.ascii_letters + string.digits + "!#$%&'()*+,-./:;=?@"


@dataclass(frozen=True)
class Font:
    """One face.

    Attributes:
        name: family, and weight if it is not the regular one.
        style: "sans", "serif" or "mono".
        group: "train" or "held-out".
        licence: SPDX expression.
        package: the distribution that brings it.
        file: its place in that package.
    """

    name: str
    style: str
    group: str
    licence: str
    package: str
    file: str

    @property
    def path(self) -> Path:
        """Where the file lies.

        Raises:
            InputError: if it is not there.
        """
        path = _found(self.package, self.file)
        if path is None:
            raise InputError(
                f"font {self.name}: {self.file} of the package {self.package} is not installed; "
                f"pip install -c constraints.txt {self.package}"
            )
        return path

    def load(self, size: float) -> ImageFont.FreeTypeFont:
        """The face at `size` px an em."""
        return _load(self.path, size)

    def size_of(self, cap_height: float) -> float:
        """The px an em at which upper-case letters are `cap_height` px high."""
        return cap_height / _cap_share(self.path)

    def at_cap_height(self, cap_height: float) -> ImageFont.FreeTypeFont:
        """The face at the size at which upper-case letters are `cap_height` px high."""
        return self.load(self.size_of(cap_height))


@functools.cache
def _found(package: str, file: str) -> Path | None:
    """The path of a package's file, if it is there."""
    if package == "matplotlib":
        import matplotlib

        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file
    else:
        spec = importlib.util.find_spec(package.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / "files" / file
    return path if path.is_file() else None


@functools.cache
def _load(path: Path, size: float) -> ImageFont.FreeTypeFont:
    # The other engine, Raqm, is not in every build of Pillow, and slower.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _cap_share(path: Path) -> float:
    """The height of an upper-case letter as a share of the em."""
    _, top, _, bottom = _load(path, 1000).getbbox("H")
    return (bottom - top) / 1000


def _matplotlib(name: str, style: str, licence: str, file: str) -> Font:
    return Font(name, style, "train", licence, "matplotlib", file)


_DEJAVU, _STIX, _TEX = "Bitstream-Vera", "OFL-1.1", "LicenseRef-BaKoMa"

FONTS: tuple[Font, ...] = (
    _matplotlib("DejaVu Sans", "sans", _DEJAVU, "DejaVuSans.ttf"),
    _matplotlib("DejaVu Sans Bold", "sans", _DEJAVU, "DejaVuSans-Bold.ttf"),
    _matplotlib("DejaVu Serif", "serif", _DEJAVU, "DejaVuSerif.ttf"),
    _matplotlib("DejaVu Sans Mono", "mono", _DEJAVU, "DejaVuSansMono.ttf"),
    _matplotlib("DejaVu Sans Mono Bold", "mono", _DEJAVU, "DejaVuSansMono-Bold.ttf"),
    _matplotlib("STIX", "serif", _STIX, "STIXGeneral.ttf"),
    _matplotlib("STIX Bold", "serif", _STIX, "STIXGeneralBol.ttf"),
    _matplotlib("Computer Modern Roman", "serif", _TEX, "cmr10.ttf"),
    _matplotlib("Computer Modern Sans", "sans", _TEX, "cmss10.ttf"),
    _matplotlib("Computer Modern Typewriter", "mono", _TEX, "cmtt10.ttf"),
    Font("Source Sans", "sans", "train", "OFL-1.1", "font-source-sans-pro", "SourceSansPro-Regular.ttf"),
    Font("Source Sans Bold", "sans", "train", "OFL-1.1", "font-source-sans-pro", "SourceSansPro-Bold.ttf"),
    Font("Source Serif", "serif", "train", "OFL-1.1", "font-source-serif-pro", "SourceSerifPro-Regular.ttf"),
    Font("Caladea", "serif", "train", "Apache-2.0", "font-caladea", "Caladea-Regular.ttf"),
    Font("Caladea Bold", "serif", "train", "Apache-2.0", "font-caladea", "Caladea-Bold.ttf"),
    Font(
        "Hanken Grotesk Medium", "sans", "train", "OFL-1.1", "font-hanken-grotesk", "HankenGrotesk-Medium.otf"
    ),
    Font("Fredoka One", "sans", "train", "OFL-1.1", "font-fredoka-one", "FredokaOne-Regular.ttf"),
    Font("Inconsolata", "mono", "train", "OFL-1.1", "fontpkg-inconsolata", "Inconsolata[wdth,wght].ttf"),
    Font("Roboto Mono", "mono", "train", "OFL-1.1", "fontpkg-roboto-mono", "RobotoMono[wght].ttf"),
    Font("Lato", "sans", "held-out", "OFL-1.1", "font-lato", "Lato-Regular.ttf"),
    Font("PT Serif", "serif", "held-out", "OFL-1.1", "fontpkg-pt-serif", "PT_Serif-Web-Regular.ttf"),
    Font("IBM Plex Mono", "mono", "held-out", "OFL-1.1", "fontpkg-ibm-plex-mono", "IBMPlexMono-Regular.ttf"),
)


def fonts(group: str) -> tuple[Font, ...]:
    """The faces of a group, "train" or "held-out".

    Raises:
        ValueError: for an unknown group.
    """
    if group not in GROUPS:
        raise ValueError(f"group {group!r} is unknown: use one of {', '.join(GROUPS)}")
    return tuple(font for font in FONTS if font.group == group)
