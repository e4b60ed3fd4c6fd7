@rem Starts Hybridscope with its sessions and settings beside it, in the folder "data".
@start "" "%~dp0bin\hybridscope.exe" --data "%~dp0data" %*
