; The installer: for one person or for everyone, start menu, .gguf files, and an uninstaller that
; leaves sessions and settings alone unless asked.
;   makensis -DVERSION=… -DSOURCE=folder -DICON=file -DOUT=file installer.nsi
; Silent: /S with /CurrentUser or /AllUsers; the uninstaller: /S, with /PURGE also sessions and settings.
; A 64-bit installer, as the program is.
Target amd64-unicode
ManifestDPIAware true
ManifestLongPathAware true
!ifndef COMPRESSOR ; tests take a faster one
  !define COMPRESSOR "/SOLID lzma"
!endif
SetCompressor ${COMPRESSOR}

!define KEY "Software\Hybridscope"
!define UNINSTALL "Software\Microsoft\Windows\CurrentVersion\Uninstall\Hybridscope"
!define MULTIUSER_EXECUTIONLEVEL Highest
!define MULTIUSER_MUI
!define MULTIUSER_USE_PROGRAMFILES64
!define MULTIUSER_INSTALLMODE_COMMANDLINE
!define MULTIUSER_INSTALLMODE_DEFAULT_CURRENTUSER
!define MULTIUSER_INSTALLMODE_FUNCTION choose_folder
!define MULTIUSER_INSTALLMODE_INSTDIR_REGISTRY_KEY "${KEY}"
!define MULTIUSER_INSTALLMODE_INSTDIR_REGISTRY_VALUENAME "InstallDir"
!define MULTIUSER_INSTALLMODE_DEFAULT_REGISTRY_KEY "${UNINSTALL}"
!define MULTIUSER_INSTALLMODE_DEFAULT_REGISTRY_VALUENAME "UninstallString"
!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!include MultiUser.nsh
!include MUI2.nsh
!include LogicLib.nsh
!include FileFunc.nsh

Var given_folder

Name "Hybridscope"
OutFile "${OUT}"
BrandingText "Hybridscope ${VERSION}"
VIProductVersion "${VERSION}.0"
VIAddVersionKey ProductName "Hybridscope"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey FileDescription "Installs Hybridscope ${VERSION}"
VIAddVersionKey CompanyName "Hybridscope developers"
VIAddVersionKey LegalCopyright "Free software: GNU General Public License, version 3 or later"

!insertmacro MUI_PAGE_LICENSE "${SOURCE}\LICENSE.txt"
!insertmacro MULTIUSER_PAGE_INSTALLMODE
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_INSTFILES
!define MUI_FINISHPAGE_RUN "$INSTDIR\bin\hybridscope.exe"
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_COMPONENTS
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE English

!macro tell_the_shell
  System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)'
!macroend

Section "Hybridscope" program
  SectionIn RO
  ; What an older version left out of this one must not stay behind.
  ReadRegStr $0 SHCTX "${KEY}" "InstallDir"
  ${If} $0 != ""
  ${AndIf} ${FileExists} "$0\Uninstall.exe"
    ExecWait '"$0\Uninstall.exe" /S /$MultiUser.InstallMode _?=$0'
    Delete "$0\Uninstall.exe"
    RMDir "$0"
  ${EndIf}
  SetOutPath "$INSTDIR"
  File /r "${SOURCE}\*.*"
  WriteUninstaller "$INSTDIR\Uninstall.exe"
  CreateShortcut "$SMPROGRAMS\Hybridscope.lnk" "$INSTDIR\bin\hybridscope.exe"
  WriteRegStr SHCTX "${KEY}" "InstallDir" "$INSTDIR"
  WriteRegStr SHCTX "${UNINSTALL}" "DisplayName" "Hybridscope"
  WriteRegStr SHCTX "${UNINSTALL}" "DisplayVersion" "${VERSION}"
  WriteRegStr SHCTX "${UNINSTALL}" "DisplayIcon" "$INSTDIR\bin\hybridscope.exe"
  WriteRegStr SHCTX "${UNINSTALL}" "Publisher" "Hybridscope developers"
  WriteRegStr SHCTX "${UNINSTALL}" "InstallLocation" "$INSTDIR"
  WriteRegStr SHCTX "${UNINSTALL}" "UninstallString" \
    '"$INSTDIR\Uninstall.exe" /$MultiUser.InstallMode'
  WriteRegStr SHCTX "${UNINSTALL}" "QuietUninstallString" \
    '"$INSTDIR\Uninstall.exe" /S /$MultiUser.InstallMode'
  WriteRegDWORD SHCTX "${UNINSTALL}" "NoModify" 1
  WriteRegDWORD SHCTX "${UNINSTALL}" "NoRepair" 1
  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  WriteRegDWORD SHCTX "${UNINSTALL}" "EstimatedSize" $0
SectionEnd

Section "Open .gguf files with it" association
  WriteRegStr SHCTX "Software\Classes\Hybridscope.gguf" "" "GGUF language model"
  WriteRegStr SHCTX "Software\Classes\Hybridscope.gguf\DefaultIcon" "" "$INSTDIR\bin\hybridscope.exe,0"
  WriteRegStr SHCTX "Software\Classes\Hybridscope.gguf\shell\open\command" "" \
    '"$INSTDIR\bin\hybridscope.exe" "%1"'
  WriteRegStr SHCTX "Software\Classes\.gguf\OpenWithProgids" "Hybridscope.gguf" ""
  ; The first choice only where nothing else is.
  ReadRegStr $0 SHCTX "Software\Classes\.gguf" ""
  ${If} $0 == ""
    WriteRegStr SHCTX "Software\Classes\.gguf" "" "Hybridscope.gguf"
  ${EndIf}
  !insertmacro tell_the_shell
SectionEnd

Section "un.Hybridscope" un_program
  SectionIn RO
  Delete "$SMPROGRAMS\Hybridscope.lnk"
  RMDir /r "$INSTDIR\bin"
  RMDir /r "$INSTDIR\share\hybridscope"
  RMDir "$INSTDIR\share"
  Delete "$INSTDIR\LICENSE.txt"
  Delete "$INSTDIR\third_party.json"
  Delete "$INSTDIR\Uninstall.exe"
  RMDir "$INSTDIR"
  ReadRegStr $0 SHCTX "Software\Classes\.gguf" ""
  ${If} $0 == "Hybridscope.gguf"
    DeleteRegValue SHCTX "Software\Classes\.gguf" ""
  ${EndIf}
  DeleteRegValue SHCTX "Software\Classes\.gguf\OpenWithProgids" "Hybridscope.gguf"
  DeleteRegKey /ifempty SHCTX "Software\Classes\.gguf\OpenWithProgids"
  DeleteRegKey /ifempty SHCTX "Software\Classes\.gguf"
  DeleteRegKey SHCTX "Software\Classes\Hybridscope.gguf"
  DeleteRegKey SHCTX "${UNINSTALL}"
  DeleteRegKey SHCTX "${KEY}"
  !insertmacro tell_the_shell
SectionEnd

Section /o "un.My sessions and settings" un_data
  SetShellVarContext current
  RMDir /r "$LOCALAPPDATA\Hybridscope"
SectionEnd

!insertmacro MUI_FUNCTION_DESCRIPTION_BEGIN
  !insertmacro MUI_DESCRIPTION_TEXT ${program} "The program, its command line, and five small models."
  !insertmacro MUI_DESCRIPTION_TEXT ${association} "A double click on a .gguf file opens it."
!insertmacro MUI_FUNCTION_DESCRIPTION_END
!insertmacro MUI_UNFUNCTION_DESCRIPTION_BEGIN
  !insertmacro MUI_DESCRIPTION_TEXT ${un_program} "The program and the models that came with it."
  !insertmacro MUI_DESCRIPTION_TEXT ${un_data} "Everything you kept. This cannot be undone."
!insertmacro MUI_UNFUNCTION_DESCRIPTION_END

; Where an earlier version lies, else what /D= says, else the usual place: for one person apart from
; %LOCALAPPDATA%\Hybridscope, which holds sessions and settings.
Function choose_folder
  ${If} $MultiUser.InstDir != ""
    Return
  ${EndIf}
  ${If} $given_folder != ""
    StrCpy $INSTDIR $given_folder
  ${ElseIf} $MultiUser.InstallMode == "AllUsers"
    StrCpy $INSTDIR "$PROGRAMFILES64\Hybridscope"
  ${Else}
    StrCpy $INSTDIR "$LOCALAPPDATA\Programs\Hybridscope"
  ${EndIf}
FunctionEnd

Function .onInit
  SetRegView 64
  StrCpy $given_folder $INSTDIR
  !insertmacro MULTIUSER_INIT
FunctionEnd

Function un.onInit
  SetRegView 64
  !insertmacro MULTIUSER_UNINIT
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/PURGE" $1
  ${IfNot} ${Errors}
    SectionGetFlags ${un_data} $1
    IntOp $1 $1 | ${SF_SELECTED}
    SectionSetFlags ${un_data} $1
  ${EndIf}
FunctionEnd
