// Documents and pages that serve to bring something else.

rule OFFICE_DROPPER
{
    meta:
        description = "an Office file or its macros that start by themselves, and run another program"
        score = 3.0
    strings:
        $auto1 = "AutoOpen" nocase wide ascii fullword
        $auto2 = "Auto_Open" nocase wide ascii fullword
        $auto3 = "Document_Open" nocase wide ascii fullword
        $auto4 = "Workbook_Open" nocase wide ascii fullword
        $run1 = "WScript.Shell" nocase wide ascii
        $run2 = "Win32_Process" nocase wide ascii
        $run3 = "powershell" nocase wide ascii
        $run4 = "mshta" nocase wide ascii fullword
        $run5 = "URLDownloadToFile" nocase wide ascii
        $run6 = "regsvr32" nocase wide ascii
    condition:
        filesize < 8MB and any of ($auto*) and any of ($run*)
        and (uint32(0) == 0xE011CFD0 or uint32(0) == 0x7478652E or for any i in (0..64) : (uint32(i) == 0x72747441))
}

rule HTML_SMUGGLING
{
    meta:
        description = "a page that builds a file by itself and has it saved, so that no filter sees it on its way"
        score = 4.0
    strings:
        $decode1 = "atob(" nocase
        $decode2 = "fromCharCode" nocase
        $decode3 = "Uint8Array" nocase
        $blob = /new\s{1,4}(window\.)?Blob\s{0,4}\(/ nocase
        $save1 = "createObjectURL" nocase
        $save2 = "msSaveOrOpenBlob" nocase
        $save3 = "msSaveBlob" nocase
        $name1 = /\.download\s{0,4}=/ nocase
        $name2 = /setAttribute\(\s{0,4}["']download["']/ nocase
        $click = /\.click\s{0,4}\(/ nocase
        $long = /["'`][A-Za-z0-9+\/=\r\n]{2000}/
    condition:
        filesize < 16MB and $blob and any of ($save*) and any of ($decode*)
        and (any of ($name*) or $save2 or $save3) and ($click or $long)
}

rule PHISHING_KIT_PAGE
{
    meta:
        description = "a page that asks for a password and sends it by script to a bot or a collector, as phishing kits do"
        score = 5.0
    strings:
        $password = /type\s{0,4}=\s{0,4}["']?password/ nocase
        $bot1 = "api.telegram.org/bot" nocase
        $bot2 = /discord(app)?\.com\/api\/webhooks\// nocase
        $bot3 = "submit-form.com/" nocase
        $bot4 = "formspree.io/" nocase
        $bot5 = "getform.io/" nocase
        $hidden = /["']YXBpLnRlbGVncmFtLm9yZ/
    condition:
        filesize < 4MB and $password and any of ($bot*, $hidden)
}

rule PHISHING_KIT_PREFILLED
{
    meta:
        description = "a page with a password field, that takes the victim's address from its own link or name"
        score = 2.5
    strings:
        $password = /type\s{0,4}=\s{0,4}["']?password/ nocase
        $hash1 = "location.hash" nocase
        $hash2 = /location\[["']hash["']\]/ nocase
        $logo1 = "logo.clearbit.com/" nocase
        $logo2 = "google.com/s2/favicons" nocase
        $logo3 = "aadcdn.msauth.net/" nocase
        $logo4 = "aadcdn.msftauth.net/" nocase
    condition:
        filesize < 4MB and $password and any of ($hash*) and any of ($logo*)
}
