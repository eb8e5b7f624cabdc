"""The bill of materials of an infenclave build, as CycloneDX 1.5 JSON: the Debian packages whose shared libraries its
programs load, and those whose headers were compiled in. The same build gives the same bytes.

Usage: sbom.py VERSION SOURCE_DIR BUILD_DIR TRUSTED_EXECUTABLE EXECUTABLE...

Each component's property infenclave:use says `loaded` or `compiled in`; infenclave:trusted marks what the first program,
the enclave, loads. Nothing is asked of the network.
"""
import json
import pathlib
import re
import subprocess
import sys
from urllib.parse import quote


def output_of(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False).stdout


def loaded_by(executable):
    paths = re.findall(r"(?:=> )?(/\S+) \(0x", output_of("ldd", executable))
    return {str(pathlib.Path(path).resolve()) for path in paths}


def headers_of(build, source):
    """What the objects of src/ include from elsewhere, as Ninja remembers it; the attacks are in no package."""
    out, ours = set(), False
    for line in output_of("ninja", "-C", build, "-t", "deps").splitlines():
        if line and not line.startswith(" "):
            ours = line.startswith("src/") and not line.startswith("src/attacks/")
        elif ours and line.strip().startswith("/") and not line.strip().startswith((f"{source}/", f"{build}/")):
            out.add(str(pathlib.Path(line.strip()).resolve()))
    return out


def packages_of(paths):
    """Path to package. dpkg may know a file of /usr/lib by its older name, /lib."""
    names = {name: path for path in paths for name in (path, path.removeprefix("/usr"))}
    out = {}
    for line in output_of("dpkg", "-S", *sorted(names)).splitlines() if names else []:
        owners, separator, name = line.partition(": ")
        if separator and name in names and not owners.startswith("diversion "):
            out[names[name]] = owners.split(",")[0].strip()
    return out


def component(package, uses, trusted):
    name, version, source, arch = output_of(
        "dpkg-query", "-W", "-f", "${Package}\t${Version}\t${source:Package}\t${Architecture}", package).split("\t")
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={arch}"
    properties = [{"name": "infenclave:use", "value": use} for use in sorted(uses)]
    properties.append({"name": "debian:source", "value": source})
    if trusted:
        properties.append({"name": "infenclave:trusted", "value": "true"})
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "properties": properties}


def main():
    version, source, build, trusted, *others = sys.argv[1:]
    trusted_files = loaded_by(trusted)
    loaded = set(trusted_files).union(*(loaded_by(executable) for executable in others))
    headers = headers_of(build, source)
    owner = packages_of(loaded | headers)
    unknown = sorted(loaded - owner.keys())
    if unknown:
        sys.exit(f"sbom.py: no package owns {', '.join(unknown)}")
    uses = {}
    for use, files in (("loaded", loaded), ("compiled in", headers)):
        for file in files & owner.keys():
            uses.setdefault(owner[file], set()).add(use)
    trusted_packages = {owner[file] for file in trusted_files}
    components = [component(package, uses[package], package in trusted_packages) for package in sorted(uses)]
    own = f"pkg:generic/infenclave@{version}"
    print(json.dumps({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": own, "name": "infenclave", "version": version,
                                   "purl": own, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [part["bom-ref"] for part in components]}],
    }, indent=1))


if __name__ == "__main__":
    main()
