#!/usr/bin/env python3
"""A bill of materials (SPDX 2.3, JSON) of what a package holds that others made.

usage: sbom.py PLACE PARTS NAME OUT

PLACE is a value of "in" in resources/third_party.json, or several with commas. PARTS has a line per part, separated by
tabs: Debian's source package, its version, the file with its copyright, and how many files of it
are in the package. The licences are those of third_party.json, which the window shows under About
as well; a part that it does not know, and one that it names and PARTS lacks, is an error.
SOURCE_DATE_EPOCH and HS_VERSION come from the environment.
"""

import json
import os
import re
import sys
import time
import uuid

TABLE = os.path.join(os.path.dirname(__file__), "..", "resources", "third_party.json")


def spdx_id(text):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", text)


def copyright_lines(path):
    """The holders, as the copyright file names them: both its forms begin such lines alike."""
    holders = []
    with open(path, encoding="utf-8", errors="replace") as file:
        inside = False
        for line in file:
            if re.match(r"\s*Copyright(:|\b.*\d{4})", line):
                inside = line.startswith("Copyright:")
                holder = re.sub(r"^\s*Copyright:?", "", line)
            elif inside and line.startswith((" ", "\t")):
                holder = line
            else:
                inside = False
                continue
            holder = " ".join(holder.split())
            if holder and holder not in holders:
                holders.append(holder)
    return "\n".join(holders) or "NOASSERTION"


def main():
    places, parts_path, name, out = sys.argv[1:]
    version = os.environ["HS_VERSION"]
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
    with open(TABLE, encoding="utf-8") as file:
        table = {row["source"]: row for row in json.load(file)}
    with open(parts_path, encoding="utf-8") as file:
        parts = [line.rstrip("\n").split("\t") for line in file]

    named = {row["source"] for row in table.values() if {"program", *places.split(",")} & set(row["in"])}
    found = {part[0] for part in parts}
    for what, sources in (("no licence for", found - named), ("nothing of", named - found)):
        if sources:
            sys.exit(f"sbom.py: resources/third_party.json and {name} disagree: {what} "
                     + ", ".join(sorted(sources)))

    program = {
        "SPDXID": "SPDXRef-hybridscope", "name": "Hybridscope", "versionInfo": version,
        "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "licenseConcluded": "GPL-3.0-or-later", "licenseDeclared": "GPL-3.0-or-later",
        "copyrightText": "2026 the Hybridscope developers", "primaryPackagePurpose": "APPLICATION",
    }
    packages, links = [program], [("SPDXRef-DOCUMENT", "DESCRIBES", program["SPDXID"])]
    for source, part_version, copyright_path, files in sorted(parts):
        row = table[source]
        compiled_in = files == "0"
        package = {
            "SPDXID": spdx_id(source), "name": row["name"], "versionInfo": part_version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "licenseConcluded": row["licence"], "licenseDeclared": row["licence"],
            "copyrightText": copyright_lines(copyright_path),
            "comment": "compiled into the programs" if compiled_in else f"files: {files}",
        }
        if not part_version.startswith("in "):  # a part of another part's source
            package["sourceInfo"] = f"Debian source package {source} {part_version}"
            package["externalRefs"] = [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": f"pkg:deb/debian/{source}@{part_version.replace(':', '%3A')}"
                                    "?arch=source",
            }]
        packages.append(package)
        links.append((program["SPDXID"], "STATIC_LINK" if compiled_in else "CONTAINS",
                      spdx_id(source)))
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": "urn:uuid:" + str(uuid.uuid5(
            uuid.NAMESPACE_URL, name + json.dumps(packages, sort_keys=True))),
        "creationInfo": {"created": created, "creators": [f"Tool: hybridscope-sbom-{version}"]},
        "packages": packages,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b}
                          for a, kind, b in links],
        "hasExtractedLicensingInfos": [{
            "licenseId": "LicenseRef-public-domain", "name": "Public domain",
            "extractedText": "This part has been put into the public domain by its authors.",
        }],
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
