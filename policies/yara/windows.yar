// What hostile Windows files share by their structure. Each rule's points add to those of the other checks.

rule PE_PACKED_STUB
{
    meta:
        description = "a Windows program whose sections have the names that packers give"
        score = 2.0
    strings:
        $upx0 = "UPX0\x00\x00\x00\x00"
        $upx1 = "UPX1\x00\x00\x00\x00"
        $aspack = ".aspack\x00"
        $mpress = ".MPRESS1"
        $themida = ".themida"
        $vmp = ".vmp0\x00\x00\x00"
        $petite = ".petite\x00"
    condition:
        uint16(0) == 0x5A4D and uint32(0x3C) < 0x1000 and uint32(uint32(0x3C)) == 0x00004550
        and for any of them : ($ in (0..0x1400))
}

rule POWERSHELL_ENCODED
{
    meta:
        description = "starts PowerShell with a command in Base64, as droppers do"
        score = 4.0
    strings:
        $shell = /p[o\^`]{1,3}w[e\^`]{1,3}rshell(\.exe)?["']?\s[^\r\n]{0,200}[-\/]e(nc?|nco(d(e(d(c(o(m(m(a(n(d?)?)?)?)?)?)?)?)?)?)?)?["'\s^]{1,4}[A-Za-z0-9+\/]{40}/ nocase wide ascii
        // what UTF-16 text looks like in Base64: "IEX", "$", "Invoke-", "powershell"
        $iex = "SQBFAFgA"
        $dollar = /\b(JAB|JABz|JABh|JABi|JABj|JABw)[A-Za-z0-9+\/]{60}/
        $from = "FromBase64String" nocase wide ascii
        $hidden = /-w(i(n(d(o(w(s(t(y(l(e)?)?)?)?)?)?)?)?)?)?\s{1,4}h(i(d(d(e(n)?)?)?)?)?\s/ nocase wide ascii
    condition:
        $shell or ($hidden and ($iex or $dollar or $from))
}

rule LNK_LONG_ARGUMENTS
{
    meta:
        description = "a Windows shortcut with a command line that no person would write"
        score = 3.0
    strings:
        $padded = { 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00 }
        $shell = /(cmd|powershell|pwsh|mshta|wscript|cscript|rundll32|regsvr32|certutil|bitsadmin|msiexec|forfiles)(\.exe)?[\s"\/]/ nocase wide
        $fetch = /https?:\/\// nocase wide
        $script = /(FromBase64String|DownloadString|DownloadFile|Invoke-|\biex\b|-enc|javascript:|vbscript:)/ nocase wide
    condition:
        uint32(0) == 0x0000004C and uint32(4) == 0x00021401
        and (($padded and $shell) or ($shell and ($fetch or $script)))
}

rule SCRIPT_DROPPER
{
    meta:
        description = "a script that fetches a file, writes it and runs it"
        score = 3.0
    strings:
        $http1 = "MSXML2.XMLHTTP" nocase wide ascii
        $http2 = "WinHttp.WinHttpRequest" nocase wide ascii
        $http3 = "URLDownloadToFile" nocase wide ascii
        $http4 = "Net.WebClient" nocase wide ascii
        $write1 = "ADODB.Stream" nocase wide ascii
        $write2 = "SaveToFile" nocase wide ascii
        $write3 = "DownloadFile" nocase wide ascii
        $run1 = "WScript.Shell" nocase wide ascii
        $run2 = "Shell.Application" nocase wide ascii
        $run3 = "Start-Process" nocase wide ascii
        $run4 = "ShellExecute" nocase wide ascii
    condition:
        filesize < 2MB and uint16(0) != 0x5A4D and any of ($http*) and any of ($write*) and any of ($run*)
}
