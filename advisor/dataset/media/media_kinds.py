"""Which cells of a data file are pictures, sound or video."""

from __future__ import annotations

import re
from typing import Any, Final

from advisor.domain.plain_values import is_list, is_mapping

Media = str
"""pictures, sound or video."""

MEDIA_ENDINGS: Final[dict[str, Media]] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"), "pictures"),
    **dict.fromkeys(("wav", "mp3", "flac", "ogg", "m4a", "opus"), "sound"),
    **dict.fromkeys(("mp4", "avi", "mov", "mkv", "webm"), "video"),
}
MEDIA_PATH: Final = re.compile(rf"[^\n]{{1,400}}\.({'|'.join(MEDIA_ENDINGS)})", re.IGNORECASE)
MEDIA_STARTS: Final[tuple[tuple[str | bytes, Media], ...]] = (
    ("data:image/", "pictures"),
    ("data:audio/", "sound"),
    ("data:video/", "video"),
    ("/9j/4", "pictures"),
    ("iVBORw0KGgo", "pictures"),
    (b"\xff\xd8\xff", "pictures"),
    (b"\x89PNG", "pictures"),
    (b"RIFF", "sound"),
    (b"fLaC", "sound"),
    (b"ID3", "sound"),
)
"""First characters of pictures and sound: data addresses, base64 of JPEG and PNG, and the bytes themselves."""
MEDIA_NAMES: Final[dict[str, Media]] = {
    **dict.fromkeys(("image", "images", "img", "picture", "pictures", "pixel_values", "image_path"), "pictures"),
    **dict.fromkeys(("audio", "audios", "speech", "sound", "audio_path"), "sound"),
    **dict.fromkeys(("video", "videos"), "video"),
}
MARKS: Final = ("<image>", "<|image_pad|>", "<|image|>", "<audio>", "<video>")
"""Where in a text a picture, a sound or a film belongs, in the formats of LLaVA, Qwen-VL and Llama 3.2."""
MEDIA_PARTS: Final[dict[str, Media]] = {
    **dict.fromkeys(("image", "image_url", "input_image"), "pictures"),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "sound"),
    **dict.fromkeys(("video", "video_url"), "video"),
}
"""Types of the parts of a chat turn that are no text."""


def media_of(value: Any) -> Media | None:
    """Whether a value is a picture, sound or video: by path, address, base64, bytes, or `datasets`' own struct."""
    if isinstance(value, str):
        found = MEDIA_PATH.fullmatch(value) if len(value) < 410 else None
        if found:
            return MEDIA_ENDINGS[found[1].lower()]
        return next(
            (media for start, media in MEDIA_STARTS if isinstance(start, str) and value.startswith(start)), None
        )
    if isinstance(value, bytes):
        if value[8:12] == b"WEBP":
            # in the same container as WAV
            return "pictures"
        return next((m for start, m in MEDIA_STARTS if isinstance(start, bytes) and value.startswith(start)), None)
    if is_mapping(value):
        if "sampling_rate" in value:
            return "sound"
        inside = [media_of(value.get(key)) for key in ("bytes", "path", "url")]
        return next((media for media in inside if media), None)
    if is_list(value) and value:
        return media_of(value[0])
    return None
